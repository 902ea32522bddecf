"""What pyproject.toml cannot say: every package below stemdefects/, and configs/ as one more of them."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["stemdefects", "stemdefects.*"]), "stemdefects.configs"])
