"""The programs as they are where only some packages are installed: what an extra would bring cannot be imported."""

import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "torchvision", "timm", "ray", "flwr", "PIL", "prometheus_client", "grpc_health", "grpc_reflection")
"""What neither operators nor auditors install."""

LEDGERS = ("sqlalchemy", "psycopg", "obstore")
"""What operators install, and auditors do not."""

_MODULES = {"genepool": "genepool_client", "genepool-server": "genepool_server"}
_CODE = """
import sys
sys.modules.update(dict.fromkeys({blocked!r}))
from {package}.commands.cli import main
for words in {commands!r}:
    sys.argv = [{program!r}, *words]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise
"""


def without(
    blocked: tuple[str, ...], program: str, *commands: tuple[str | Path, ...]
) -> subprocess.CompletedProcess[str]:
    """Commands, one after another until one fails, that find none of these packages; one process for all of them."""
    words = [[str(word) for word in command] for command in commands]
    code = _CODE.format(blocked=blocked, program=program, package=_MODULES[program], commands=words)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
