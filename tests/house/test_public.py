import inspect

import pytest

import trk
from trk import errors

ERRORS = {
    name: value for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)
}


def test_everything_that_is_promised_is_there():
    assert sorted(trk.__all__) == trk.__all__
    for name in trk.__all__:
        assert getattr(trk, name) is not None
    assert set(trk.__all__) <= set(dir(trk))


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'trk' has no attribute 'Trakker'"):
        trk.Trakker  # noqa: B018


def test_every_error_is_public_and_below_trk_error():
    for name, error in ERRORS.items():
        assert issubclass(error, trk.TrkError)
        assert getattr(trk, name) is error


def test_every_error_stands_in_the_tree_with_what_it_means():
    tree = dict(line.lstrip("├└─ ").split(maxsplit=1) for line in errors.__doc__.splitlines() if "──" in line)
    assert set(tree) == set(ERRORS) - {"TrkError"}
    for name, meaning in tree.items():
        said = ERRORS[name].__doc__.rstrip(".")
        assert said[0].lower() + said[1:] == meaning


@pytest.mark.parametrize("name", [name for name in trk.__all__ if name not in ERRORS])
def test_public_things_are_documented(name):
    assert inspect.getdoc(getattr(trk, name))


def test_version_is_the_distributions():
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("trk-engine")
    except PackageNotFoundError:
        pytest.skip("trk-engine is not installed: this is a bare checkout")
    assert trk.__version__ == installed
