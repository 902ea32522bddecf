"""Elements by their atomic number, and how the light of one atom depends on it."""

ELEMENTS: tuple[str, ...] = tuple(
    (
        "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn "
        "Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd "
        "Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th "
        "Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
    ).split()
)
# of the atomic number: between 1.52 (multislice) and 1.64 (Krivanek et al., Nature 464, 571)
EXPONENT = 1.55


def atomic_number(element: str) -> int:
    """Z of an element of `ELEMENTS`."""
    return ELEMENTS.index(element) + 1


def group(element: str) -> int:
    """Column 1 to 18 of the periodic table; lanthanides and actinides stand in the third."""
    z, before = atomic_number(element), 0
    for length in (2, 8, 8, 18, 18, 32, 32):
        if z <= before + length:
            break
        before += length
    n = z - before
    if n <= (1 if length == 2 else 2):
        return n
    if length == 32 and n <= 17:
        return 3
    return n + 18 - length
