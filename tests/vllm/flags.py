"""Does the installed vLLM take every flag that `deepbot serve` prints?"""

import json
import shlex
import subprocess
from pathlib import Path

SNAPSHOTS = Path(__file__).parents[1] / "snapshots" / "serve"

# Run by the environment's own Python.
_PARSE = """
import json, sys
from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm_router.launch_router import parse_router_args

program = FlexibleArgumentParser()
ServeSubcommand().subparser_init(program.add_subparsers(required=True))
for command, *arguments in json.load(sys.stdin):
    if command == "vllm":
        program.parse_args(arguments)
    else:
        parse_router_args(arguments)
"""


def parse_snapshots(programs: Path) -> tuple[int, int]:
    """Parse every command of the snapshots; return how many of vLLM and of the router."""
    found = [each for path in sorted(SNAPSHOTS.iterdir()) for each in _commands(path)]
    done = subprocess.run(
        [programs / "python", "-c", _PARSE],
        input=json.dumps(found),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.splitlines()[-1]
    routers = sum(command[0] == "vllm-router" for command in found)
    return len(found) - routers, routers


def _commands(path: Path) -> list[list[str]]:
    """Return a snapshot's commands without what is set before them."""
    lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    words = [shlex.split(line) for line in lines if line and not line.startswith("#")]
    return [
        each[next(n for n, word in enumerate(each) if word in {"vllm", "vllm-router"}) :]
        for each in words
    ]
