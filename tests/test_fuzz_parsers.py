import pytest

from fuzz_parsers import PARSERS, mutations, try_parser

EACH = 400


@pytest.mark.parametrize("name", PARSERS)
def test_damaged_input_is_told_in_one_line_or_read(name, tmp_path):
    seeds = PARSERS[name].seeds()
    for data in seeds:
        try_parser(name, data, tmp_path)
    for data in mutations(seeds, EACH, seed=0):
        try_parser(name, data, tmp_path)
