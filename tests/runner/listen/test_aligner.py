"""The setting `aligner`: refused by name, before any process is started."""

import pytest

from models.errors import EngineFailure
from runner.config.instance import Instance
from runner.config.settings import Settings
from runner.doctor.checks import CHECKS
from runner.listen.listen_process import ListenProcess
from runner.listen.weights import Weights

WRONG = ["pocketsphinx", "mlx-audio:./nowhere", "mlx-audio:small"]


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_aligner_is_named_by_who_asks_it_and_by_the_doctor(instance, name):
    listen = ListenProcess(
        log_path=instance.logs_dir / "listen.log",
        unload_after_s=None,
        weights=Weights(instance),
        wake=lambda: None,
        aligner=name,
    )
    with pytest.raises(EngineFailure, match=f"The aligner {name} cannot be used"):
        listen.word_times(instance.root / "a.wav", samples=1, text="Hello.", spoken="", language="english")
    assert not (instance.logs_dir / "listen.log").exists()
    settings = Settings(aligner=name, offline=True)
    ((severity, message, _),) = CHECKS["aligner"][1](Instance(instance.root, settings))
    assert severity == "problem" and message.startswith("the setting aligner: ")


def test_without_an_aligner_all_is_well(instance):
    ((severity, _, _),) = CHECKS["aligner"][1](instance)
    assert severity == "ok"
