"""Elements by their atomic number, and how the light of one atom depends on it."""

from collections.abc import Iterable

from stemdefects.errors import UserError

ELEMENTS: tuple[str, ...] = tuple(
    (
        "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn "
        "Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd "
        "Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th "
        "Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
    ).split()
)
# of hydrogen to bismuth in u: IUPAC, Pure Appl. Chem. 94, 573 (2022), to five digits
# technetium and promethium have none: of their isotopes 97 and 145
MASSES_U: tuple[float, ...] = tuple(
    float(mass)
    for mass in (
        "1.008 4.0026 6.94 9.0122 10.81 12.011 14.007 15.999 18.998 20.180 22.990 24.305 26.982 28.085 30.974 "
        "32.06 35.45 39.95 39.098 40.078 44.956 47.867 50.942 51.996 54.938 55.845 58.933 58.693 63.546 65.38 "
        "69.723 72.630 74.922 78.971 79.904 83.798 85.468 87.62 88.906 91.224 92.906 95.95 97 101.07 102.91 "
        "106.42 107.87 112.41 114.82 118.71 121.76 127.60 126.90 131.29 132.91 137.33 138.91 140.12 140.91 "
        "144.24 145 150.36 151.96 157.25 158.93 162.50 164.93 167.26 168.93 173.05 174.97 178.49 180.95 183.84 "
        "186.21 190.23 192.22 195.08 196.97 200.59 204.38 207.2 208.98"
    ).split()
)
# of the atomic number: between 1.52 (multislice) and 1.64 (Krivanek et al., Nature 464, 571)
EXPONENT = 1.55


def check(names: Iterable[str], asked: str) -> None:
    """Raise UserError where some of the `names` are no elements; asked: what the user wrote, as `key=value`."""
    if wrong := [name for name in names if name not in ELEMENTS]:
        raise UserError(f"{asked}: there is no element {', '.join(wrong)}, so nothing is known of its signal")


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


def mass_u(element: str) -> float | None:
    """Standard atomic mass; None: beyond the table."""
    number = atomic_number(element)
    return MASSES_U[number - 1] if number <= len(MASSES_U) else None
