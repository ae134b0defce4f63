from __future__ import annotations

import pytest

import tsgen
from tsgen.common.errors import DataError, UsageError
from tsgen.domainfile import resolve_domain
from tsgen.domains import DOMAINS


def write(tmp_path, text):
    path = tmp_path / "loud.toml"
    path.write_text(text)
    return str(path)


def test_dials_are_turned_and_the_motion_stays(tmp_path):
    domain = resolve_domain(write(tmp_path, 'base = "mnist-bg"\nintensity = 0.8\nsigma_low = 4\n'))
    assert domain == DOMAINS["mnist-bg"].with_dials(name="loud", intensity=0.8, sigma_low=4)
    assert domain.stream == "mnist-bg"


def test_it_stands_where_a_name_can(tmp_path):
    name = write(tmp_path, 'base = "5dot"\nwidth_px = 7\nprofile = "strict"\n')
    tsgen.make(name, 10, tmp_path / "a.h5")
    with tsgen.open_clips(tmp_path / "a.h5") as clip_set:
        assert (clip_set.domain, clip_set.profile) == ("loud", "strict")
        assert ((clip_set.clips() > 0).sum(axis=(2, 3)) == 49).all()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("base = ", "not valid TOML"),
        ("intensity = 0.5", "'base' is missing"),
        ('base = "6dot"', "unknown domain '6dot'. Did you mean '5dot'"),
        ('base = "5dot"\nprofile = "stric"', "unknown profile 'stric'. Did you mean 'strict'"),
        (
            'base = "5dot"\nwidht_px = 3\nintensty = 1',
            "'widht_px'. Did you mean 'width_px'.*'intensty'. Did you mean 'intensity'",
        ),
        ('base = "5dot"\nwidth_px = "3"', "width_px '3' is not possible"),
        ('base = "5dot"\nwidth_px = true', "width_px True is not possible"),
        ('base = "5dot"\nwidth_px = 2.5', "width_px 2.5 is not possible"),
        ('base = "5dot"\nintensity = 7', "intensity 7 is not possible"),
    ],
)
def test_bad_files_name_what_is_wrong(tmp_path, text, part):
    with pytest.raises(DataError, match=part) as caught:
        resolve_domain(write(tmp_path, text))
    assert "loud.toml" in str(caught.value)


def test_a_missing_file_is_a_usage_error():
    with pytest.raises(UsageError, match="no such file"):
        resolve_domain("nothing.toml")
