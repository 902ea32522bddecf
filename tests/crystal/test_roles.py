"""Which kinds of a material catch moving defects, and which one comes first."""

import pytest

from stemdefects import config
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError


@pytest.mark.parametrize("name", ["ws2_mo", "mos2", "mose2", "wse2", "graphene_si"])
def test_a_material_names_its_centres_and_its_headline(name):
    material = crystal.load(name)
    assert material.headline is not None and material.headline not in material.centre
    site = {material.states[material.kinds[k].state].site for k in material.centre}
    assert material.states[material.kinds[material.headline].state].site not in site


def test_without_names_the_complexes_and_the_first_kind_say_it():
    cfg = config.load_group("material", "ws2_mo")
    cfg.centre, cfg.headline = None, None
    material = crystal.from_config(cfg)
    assert [material.kind_names[k] for k in material.centre] == ["Mo_W"]
    assert material.kind_names[material.headline] == "V_S"


@pytest.mark.parametrize(
    "centre, headline, says",
    [(["Mo_w"], "V_S", "did you mean Mo_W"), (["Mo_W"], "V_Se", "material.headline"), (["V_S"], "V_S", "is a centre")],
)
def test_kinds_that_do_not_exist_or_are_both_are_refused(centre, headline, says):
    cfg = config.load_group("material", "ws2_mo")
    cfg.centre, cfg.headline = centre, headline
    with pytest.raises(UserError, match=says):
        crystal.from_config(cfg)
