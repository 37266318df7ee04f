"""Settings: flags over environment over defaults, and errors that name the culprit."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from mast.common.process import settings


@dataclass(frozen=True, kw_only=True)
class Config:
    """A service for tests."""

    listen: str = "127.0.0.1:1"
    workers: int = 2
    ratio: float = 0.5
    debug: bool = False
    wait: timedelta = field(default=timedelta(seconds=1), metadata={"variables": ("ISTIO_WAIT",)})
    peers: tuple[str, ...] = ()
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"workers {self.workers}: want 0 or more")


def parse(*argv: str, **env: str) -> Config:
    return settings.parse(Config, argv, env, prefix="DEMO")


def test_defaults_without_input() -> None:
    assert parse() == Config()


@pytest.mark.parametrize(
    ("argv", "env", "expected"),
    [
        pytest.param(["--workers", "3"], {"DEMO_WORKERS": "4"}, Config(workers=3), id="flag-wins"),
        pytest.param([], {"DEMO_WORKERS": "4"}, Config(workers=4), id="environment"),
        pytest.param(["--wait", "1m30s"], {}, Config(wait=timedelta(seconds=90)), id="duration"),
        pytest.param(
            [], {"ISTIO_WAIT": "2s"}, Config(wait=timedelta(seconds=2)), id="other-variable"
        ),
        pytest.param(
            [],
            {"ISTIO_WAIT": "2s", "DEMO_WAIT": "3s"},
            Config(wait=timedelta(seconds=3)),
            id="own-variable-wins",
        ),
        pytest.param(["--debug", "yes"], {}, Config(debug=True), id="boolean"),
        pytest.param(["--peers", "a, b,"], {}, Config(peers=("a", "b")), id="list"),
        pytest.param(["--key-file", "/k"], {}, Config(key_file=Path("/k")), id="optional-path"),
        pytest.param(["--keyFile=/k"], {}, Config(key_file=Path("/k")), id="as-istio-spells"),
        pytest.param([], {"OTHER_WORKERS": "9"}, Config(), id="other-prefix-ignored"),
    ],
)
def test_sources(argv: list[str], env: dict[str, str], expected: Config) -> None:
    assert parse(*argv, **env) == expected


@pytest.mark.parametrize(
    ("argv", "env", "words"),
    [
        (["--wait", "soon"], {}, ["--wait", "soon", "100ms"]),
        (["--debug", "maybe"], {}, ["--debug", "maybe", "true or false"]),
        ([], {"DEMO_WAIT": "1x"}, ["DEMO_WAIT", "1x"]),
        (["--unknown", "1"], {}, ["--unknown"]),
        (["--workers", "-1"], {}, ["workers", "-1", "0 or more"]),
    ],
)
def test_errors_name_flag_value_and_what_is_allowed(
    argv: list[str], env: dict[str, str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(*argv, **env)
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words)
