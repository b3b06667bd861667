import logging

from snn_action.run_access import log_to


def test_the_log_is_written_inside_only(tmp_path):
    logger = logging.getLogger("snn_action.anything")
    package = logging.getLogger("snn_action")
    before = (package.level, list(package.handlers))
    with log_to(tmp_path / "run.log"):
        logger.info("inside")
    logger.info("outside")
    assert (package.level, list(package.handlers)) == before
    text = (tmp_path / "run.log").read_text()
    assert "INFO snn_action.anything: inside" in text
    assert "outside" not in text
