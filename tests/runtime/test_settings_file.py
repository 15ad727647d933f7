"""The settings file: one reading for everybody, secrets made once and never replaced."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from shared.config import Settings, load_settings
from shared.domain.errors import Misconfigured
from trader.runtime.credentials import GENERATED
from trader.runtime.first_run import ensure_secrets, filled, read_settings
from trader.runtime.instance import Instance
from trader.runtime.places import project_folder

# Word for word as the specification gives it.
SPECIFIED = """\
# Trading API (Required)
ALPACA_API_KEY=your_alpaca_api_key
ALPACA_SECRET_KEY=your_alpaca_secret_key
ALPACA_BASE_URL=https://paper-api.alpaca.markets

# Market Data (Required)
TWELVE_DATA_API_KEY=your_twelvedata_api_key

# Database
DB_PASSWORD=your_secure_password

# Risk Management
RISK_MAX_POSITION_SIZE=0.05        # 5% max position size
RISK_MAX_PORTFOLIO_RISK=0.02       # 2% max portfolio risk
RISK_DRAWDOWN_LIMIT=0.15          # 15% max drawdown

# Trading Hours
TRADING_START_TIME=09:30
TRADING_END_TIME=16:00
TRADING_TIMEZONE=America/New_York
"""


def test_the_specifications_block_is_read_without_its_comments(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(SPECIFIED)

    assert read_settings(file) == {
        "ALPACA_API_KEY": "your_alpaca_api_key",
        "ALPACA_SECRET_KEY": "your_alpaca_secret_key",
        "ALPACA_BASE_URL": "https://paper-api.alpaca.markets",
        "TWELVE_DATA_API_KEY": "your_twelvedata_api_key",
        "DB_PASSWORD": "your_secure_password",
        "RISK_MAX_POSITION_SIZE": "0.05",
        "RISK_MAX_PORTFOLIO_RISK": "0.02",
        "RISK_DRAWDOWN_LIMIT": "0.15",
        "TRADING_START_TIME": "09:30",
        "TRADING_END_TIME": "16:00",
        "TRADING_TIMEZONE": "America/New_York",
    }


def test_the_specifications_block_reaches_a_service_as_typed_settings(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(SPECIFIED)

    settings = load_settings(Instance.create(tmp_path).environment("risk_manager"))

    assert settings.risk_max_position_size == 0.05
    assert settings.risk_drawdown_limit == 0.15
    assert settings.trading_timezone == "America/New_York"


def test_make_reads_no_settings_of_its_own() -> None:
    # Two readings of one file would differ some day; Make's keeps the blanks before a comment.
    makefile = (project_folder() / "Makefile").read_text()

    assert "include" not in makefile


def test_the_first_start_makes_every_secret_and_keeps_the_file_private(tmp_path: Path) -> None:
    file = tmp_path / ".env"

    found = ensure_secrets(file, template=project_folder() / ".env.example")

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len({found[key] for key in GENERATED}) == len(GENERATED)
    assert all(len(found[key]) >= 43 for key in GENERATED)


def test_a_second_start_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    ensure_secrets(file)
    before = file.read_bytes()

    ensure_secrets(file)

    assert file.read_bytes() == before


def test_a_value_that_stands_there_is_never_replaced(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(SPECIFIED)

    found = ensure_secrets(file)

    assert found["DB_PASSWORD"] == "your_secure_password"
    assert file.read_text().startswith(SPECIFIED)


def test_a_settings_file_that_others_can_read_is_closed(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    ensure_secrets(file)
    file.chmod(0o644)

    ensure_secrets(file)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_empty_key_is_filled_where_it_stands() -> None:
    text = "A=1\nTOKEN=   # ours\nB=2\n"

    assert filled(text, {"TOKEN": "x"}) == "A=1\nTOKEN=x  # ours\nB=2\n"


def test_the_example_names_every_setting_that_a_person_may_set() -> None:
    text = (project_folder() / ".env.example").read_text()
    # What the runtime decides: where its own servers, folders and clocks stand.
    decided = {
        "DB_HOST",
        "DB_NAME",
        "DB_USER",
        "REDIS_HOST",
        "CACHE_DIR",
        "LOG_DIR",
        "CLOCK_FILE",
        "HALT_FILE",
        "BACKUP_DIR",
        "DB_BACKUP_PASSWORD",
    }
    decided |= {"API_HOST", "API_PEERS_BY_NAME", "SIMULATOR_ADMIN_TOKEN"}

    missing = [
        key
        for key in map(str.upper, Settings.model_fields)
        if key not in decided and f"{key}=" not in text
    ]

    assert missing == []


def test_the_example_is_accepted_as_it_stands(tmp_path: Path) -> None:
    found = ensure_secrets(tmp_path / ".env", template=project_folder() / ".env.example")

    assert load_settings(found).alpaca_paper_trading


def test_a_settings_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(Misconfigured, match=r"\.env cannot be read"):
        read_settings(file)


def test_git_ignores_settings_and_data() -> None:
    paths = [".env", ".env.local", "data/postgres/PG_VERSION", "data/run/lock", "data/logs/x.log"]
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", *paths, ".env.example", "data/parquet/.gitkeep"],
        cwd=project_folder(),
        capture_output=True,
        text=True,
        check=False,
    )
    if ignored.returncode == 128:
        pytest.skip("this copy of the project is no git work tree")

    assert ignored.stdout.split() == paths


def test_a_line_that_is_no_setting_is_refused_with_its_number(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("RISK_MAX_POSITION_SIZE=0.05\n# a comment\nRISK_DRAWDOWN_LIMIT 0.1\n")

    with pytest.raises(Misconfigured, match="line 3: write it as NAME=value"):
        read_settings(file)


def test_a_folder_in_place_of_the_settings_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        read_settings(tmp_path)


def test_a_secret_of_ours_is_what_is_written_and_keys_of_others_may_come_from_the_machine(
    tmp_path: Path,
) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "DB_PASSWORD=a${PATH}b$HOME\nALPACA_SECRET_KEY=${HOME}\nDATA_DIR=${HOME}/bars\n"
    )

    found = read_settings(file)

    assert found["DB_PASSWORD"] == "a${PATH}b$HOME"
    assert found["ALPACA_SECRET_KEY"] == os.environ["HOME"]
    assert found["DATA_DIR"] == f"{os.environ['HOME']}/bars"


@pytest.mark.parametrize("key", GENERATED)
def test_a_secret_of_which_services_would_read_a_part_is_refused(tmp_path: Path, key: str) -> None:
    (tmp_path / ".env").write_text(f"{key}='behind a blank #comes a comment'\n")

    with pytest.raises(Misconfigured, match=f"^{key} must not begin or end with a blank or hold"):
        Instance.create(tmp_path).environment("risk_manager")
