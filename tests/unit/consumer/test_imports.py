"""What is imported when: asking for help, and asking for the class, must stay quick."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "line",
    [
        "from genepool_client import Pool",
        "import genepool_client.commands.consumer",
        "import genepool_client.commands.doctor",
        "from genepool_client.consumer.descendant.verify import verify",
    ],
)
def test_torch_and_timm_wait_until_they_are_needed(line):
    code = f"{line}; import sys; print(sorted({{'torch', 'timm', 'ray', 'flwr'}} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_an_unknown_name_is_an_attribute_error():
    import genepool_client

    with pytest.raises(AttributeError):
        genepool_client.Lake  # noqa: B018 - the access is the test
