import pytest

from utils.config.plain_parser import PlainParser
from utils.system.errors import UserError


@pytest.fixture
def parser():
    made = PlainParser(prog="some.py")
    made.add_argument("--count", type=int, required=True)
    return made


def test_what_is_right_is_read(parser):
    assert parser.parse_args(["--count", "3"]).count == 3


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--count", "many"], "^--count: invalid int value: 'many'$"),
        ([], "^the following arguments are required: --count$"),
        (["--count", "3", "--other"], "^unrecognized arguments: --other$"),
    ],
)
def test_errors_are_told_in_one_line(parser, arguments, told, capsys):
    with pytest.raises(UserError, match=told):
        parser.parse_args(arguments)
    assert capsys.readouterr() == ("", "")
