import base64
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import RELATIVE, SUMS, assert_close

from warpjaxns import FiniteDifference, Grid, NavierStokes2D, Spectral, diagnostics, forcing, initial, plotting

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")
from matplotlib import colormaps, rc_context  # noqa: E402
from matplotlib.animation import FFMpegWriter  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from warpjaxns.plotting._animation import _captions  # noqa: E402
from warpjaxns.plotting._notebook import show_figures  # noqa: E402

GRID = Grid((20, 16), (2 * np.pi, 1.5))


@pytest.fixture
def axes():
    return Figure(layout="constrained").subplots()


@pytest.fixture
def omega(key):
    return initial.random_vorticity(GRID, key=key, max_wavenumber=2)


def test_vorticity_is_drawn_on_its_grid(axes, omega):
    image = plotting.vorticity(axes, GRID, omega, title="A flow")
    drawn = np.asarray(image.get_array())
    assert_close(drawn[:-1, :-1], omega)
    assert_close(drawn[-1, :-1], omega[0])  # periodic: the map reaches both edges of the box
    assert_close(drawn[:-1, -1], omega[:, 0])
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 1.5), (0, 2 * np.pi))
    assert image.get_clim() == (-np.abs(omega).max(), np.abs(omega).max())
    dy, dx = GRID.spacing
    np.testing.assert_allclose(image.get_extent(), (-dx / 2, 1.5 + dx / 2, -dy / 2, 2 * np.pi + dy / 2), rtol=1e-12)
    assert image.origin == "lower"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "π", "2π"]
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("A flow", "x [length]", "y [length]")
    assert [other.get_ylabel() for other in axes.figure.axes] == ["y [length]", r"$\omega$ [1/time]"]


def test_a_map_without_units_has_no_colour_bar_and_keeps_its_edges(axes, omega):
    image = plotting.vorticity(axes, GRID, omega * 0, units=None)
    assert len(axes.figure.axes) == 1
    assert image.get_clim() == (-1, 1)
    edges = axes.get_xlim(), axes.get_ylim()
    axes.scatter([3.0], [-9.0])
    assert (axes.get_xlim(), axes.get_ylim()) == edges


def test_a_limit_is_symmetric(axes, omega):
    assert plotting.vorticity(axes, GRID, omega, limit=0.25).get_clim() == (-0.25, 0.25)


def test_maps_refuse_what_they_cannot_show(axes, omega):
    with pytest.raises(ValueError, match="omega has shape"):
        plotting.vorticity(axes, GRID, omega.T)
    with pytest.raises(ValueError, match="limit=0"):
        plotting.vorticity(axes, GRID, omega, limit=0.0)
    with pytest.raises(FloatingPointError, match="not finite at 1 of 320 points"):
        plotting.vorticity(axes, GRID, omega.at[3, 4].set(jnp.nan))


def power_law(slope, low, high):
    k = np.arange(low, high + 1.0)
    return k, 5 * k**slope


def test_spectra_are_drawn_on_logarithmic_axes(axes, omega):
    k, energy = diagnostics.energy_spectrum(GRID, omega)  # zero outside the band of the field
    other = power_law(-3.0, 1, 8)
    first, second, reference = plotting.spectra(axes, GRID, {"flow": (k, energy), "law": other}, title="Spectra")
    band = np.asarray(energy) > 0
    assert_close(first.get_xydata(), np.stack([k[band], energy[band]], axis=1))
    assert_close(second.get_xydata(), np.stack(other, axis=1))
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["flow", "law"]
    assert "1/length" in axes.get_xlabel()
    assert "length³/time²" in axes.get_ylabel()
    assert reference not in (first, second)
    assert [text.get_text() for text in axes.texts] == ["$k^{-3}$"]
    axes.figure.draw_without_rendering()


@pytest.mark.parametrize("discretisation", [FiniteDifference(), Spectral()], ids=str)
def test_spectra_of_fields_are_averaged_over_members(discretisation, axes, key):
    members = jax.random.normal(key, (2, 3, *GRID.shape))
    curve, *_ = plotting.spectra(axes, GRID, {"flow": members}, discretisation=discretisation)
    k, energy = diagnostics.energy_spectrum(GRID, members, discretisation=discretisation)
    band = np.asarray(energy[0, 0]) > 0  # shells without modes are not drawn
    assert_close(curve.get_xydata(), np.stack([k, energy.mean((0, 1))], axis=1)[band])


@pytest.mark.parametrize("slope", [-3, -5 / 3])
def test_reference_slopes_lie_above_the_curves(slope, axes):
    curves = {"steep": power_law(-4.0, 2, 40), "flat": power_law(-1.0, 1, 30)}
    *_, reference = plotting.spectra(axes, GRID, curves, slopes={slope: (4.0, 20.0)})
    (start, end), (above, below) = reference.get_data()
    assert (start, end) == (4, 20)
    assert np.log(below / above) / np.log(end / start) == pytest.approx(slope, rel=1e-12)
    ratios = [
        above * (k[inside] / start) ** slope / energy[inside]
        for k, energy in curves.values()
        if np.any(inside := (k >= start) & (k <= end))
    ]
    assert np.concatenate(ratios).min() == pytest.approx(2, rel=1e-12)
    assert axes.texts[0].get_text() == {-3: "$k^{-3}$", -5 / 3: "$k^{-5/3}$"}[slope]


def test_spectra_leave_rounding_out_of_sight(axes):
    plotting.spectra(axes, GRID, {"a": (np.array([1.0, 2.0, 3.0]), np.array([1.0, 1e-3, 1e-30]))}, slopes=(), decades=6)
    assert axes.get_ylim()[0] == pytest.approx(1e-6)


def test_spectra_refuse_what_they_cannot_show(axes):
    k, energy = power_law(-3.0, 1, 8)
    with pytest.raises(ValueError, match=r"flows\['many'\] has shapes \(8,\) and \(2, 8\)"):
        plotting.spectra(axes, GRID, {"many": (k, np.stack([energy, energy]))})
    with pytest.raises(ValueError, match=r"flows\['three'\] has length 3: expected a field, or a pair"):
        plotting.spectra(axes, GRID, {"three": (k, energy, energy)})
    with pytest.raises(ValueError, match=r"flows\['bare'\] has shape \(8,\)"):
        plotting.spectra(axes, GRID, {"bare": energy})
    with pytest.raises(TypeError, match="grid="):
        plotting.spectra(axes, {"flow": (k, energy)}, {})
    with pytest.raises(ValueError, match="positive"):
        plotting.spectra(axes, GRID, {"rest": (k, 0 * energy)})
    with pytest.raises(FloatingPointError, match=r"flows\['lost'\] is not finite"):
        plotting.spectra(axes, GRID, {"lost": (k, np.nan * energy)})
    with pytest.raises(ValueError, match=r"slopes\[-3\]"):
        plotting.spectra(axes, GRID, {"flow": (k, energy)}, slopes={-3: (100.0, 200.0)})


@pytest.mark.full
def test_budgets_of_a_trajectory_add_up(axes, omega):
    force = forcing.kolmogorov(GRID, 2, 0.5)
    solver = NavierStokes2D(GRID, viscosity=0.01, dt=0.01, drag=0.1, forcing=force)
    movie = jax.jit(lambda w: solver.rollout(w, steps=6, save_every=1))(omega)
    budget = diagnostics.budgets(solver, movie).energy
    lines = plotting.budgets(axes, 0.01 * np.arange(1, 7), budget, units="length²/time³")
    labels = [text.get_text().replace("\N{MINUS SIGN}", "-") for text in axes.get_legend().get_texts()]
    assert labels[:-1] == ["rate", "injection", "-dissipation", "-drag"]
    assert labels[-1].startswith("residual (up to ")
    rate, *terms, residual = [line.get_ydata() for line in lines]
    scale = np.abs(rate).max()
    assert np.abs(sum(terms) + residual - rate).max() < 10 * SUMS["float64"] * scale
    assert np.abs(residual).max() < RELATIVE["float64"] * scale
    assert (terms[1] < 0).all()
    assert (terms[2] < 0).all()
    assert axes.get_ylabel() == "rate of change [length²/time³]"
    assert axes.get_xlabel() == "t [time]"


def test_terms_that_are_zero_are_left_out(axes, omega):
    budget = diagnostics.budgets(NavierStokes2D(GRID, viscosity=0.01, dt=0.01), omega[None]).enstrophy
    assert len(plotting.budgets(axes, np.zeros(1), budget)) == 3  # rate, dissipation and residual


def test_any_terms_make_a_budget(axes):
    times = np.linspace(0, 1, 5)
    lines = plotting.budgets(axes, times, {"gain": times, "residual": 0 * times - 2e-9}, title="Mine")
    assert [line.get_label() for line in lines] == ["gain", "residual (up to 2e-09)"]
    assert_close(lines[0].get_xydata(), np.stack([times, times], axis=1))
    with pytest.raises(ValueError, match=r"budget\['gain'\] has shape \(3,\), times \(5,\)"):
        plotting.budgets(axes, times, {"gain": times[:3]})
    with pytest.raises(ValueError, match="at least one term"):
        plotting.budgets(axes, times, {})
    with pytest.raises(FloatingPointError, match=r"budget\['gain'\] is not finite"):
        plotting.budgets(axes, times, {"gain": np.full(5, np.nan)})


def uniform_frames(*values):
    return np.stack([np.full(GRID.shape, value) for value in values])


def test_a_film_has_all_frames_in_the_same_colours(tmp_path):
    path = tmp_path / "film.GIF"
    values = np.array([4.0, -4.0, 2.0, 0.0, 1.0])
    times = np.linspace(0, 1, 5)
    options = {"times": times, "frames_per_second": 25, "dpi": 50, "progress": False}
    assert plotting.animation(GRID, uniform_frames(*values), path, **options) == plotting.Film(path)
    with Image.open(path) as film:
        assert film.n_frames == 5
        assert film.info["duration"] == 40
        for number, value in enumerate(values):
            film.seek(number)
            colour = np.array(film.convert("RGB").getpixel((film.width // 2, film.height // 2)))
            expected = 255 * np.array(colormaps["RdBu_r"](0.5 + value / 8)[:3])
            np.testing.assert_allclose(colour, expected, atol=5)  # of 224 colours


def test_a_film_takes_arrays_of_jax_and_a_limit(tmp_path, omega):
    path = plotting.animation(
        GRID, jnp.stack([omega, -omega]), tmp_path / "two.gif", limit=100.0, units=None, dpi=40, progress=False
    )
    with Image.open(path) as film:
        assert film.n_frames == 2
        middle = film.convert("RGB").getpixel((film.width // 2, film.height // 2))
        assert min(middle) > 235  # far from the limit: nearly white


def test_times_have_as_many_digits_as_they_need():
    assert _captions(None, 2, None) == ["frame 1 of 2", "frame 2 of 2"]
    assert _captions(np.array([0.0, 0.25, 0.5]), 3, "Flow") == ["Flow, t = 0.00", "Flow, t = 0.25", "Flow, t = 0.50"]
    assert _captions(np.float32(0.1) * np.arange(3, dtype=np.float32), 3, None)[1] == "t = 0.1"
    assert _captions(np.array([100.0, 200.0]), 2, None) == ["t = 100", "t = 200"]
    assert _captions(np.array([0.0]), 1, None) == ["t = 0"]


@pytest.mark.parametrize("name", ["film.avi", "film"])
def test_unknown_suffixes_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match=r"expected a name that ends in \.gif or \.mp4"):
        plotting.animation(GRID, uniform_frames(1.0), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_films_refuse_what_they_cannot_show(tmp_path):
    path, frames = tmp_path / "film.gif", uniform_frames(1.0, 2.0, 3.0)
    with pytest.raises(ValueError, match="frames has shape"):
        plotting.animation(GRID, frames[0], path)
    with pytest.raises(ValueError, match="frames has shape"):
        plotting.animation(GRID, frames[:0], path)
    with pytest.raises(ValueError, match="times has shape"):
        plotting.animation(GRID, frames, path, times=np.zeros(2))
    with pytest.raises(ValueError, match="frames_per_second=0"):
        plotting.animation(GRID, frames, path, frames_per_second=0)
    with pytest.raises(ValueError, match="dpi=1"):
        plotting.animation(GRID, frames, path, dpi=1)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        plotting.animation(GRID, frames, tmp_path / "nowhere" / "film.gif")
    frames[1, 2, 3] = np.inf
    with pytest.raises(FloatingPointError, match=r"frames\[1\] is not finite; 2 of 3"):
        plotting.animation(GRID, frames, path)
    assert not list(tmp_path.iterdir())


def test_mp4_needs_ffmpeg(tmp_path):
    with (
        rc_context({"animation.ffmpeg_path": str(tmp_path / "none")}),
        pytest.raises(RuntimeError, match="needs ffmpeg"),
    ):
        plotting.animation(GRID, uniform_frames(1.0), tmp_path / "film.mp4")


@pytest.mark.skipif(not FFMpegWriter.isAvailable(), reason="no ffmpeg")
def test_mp4(tmp_path):
    path = plotting.animation(GRID, uniform_frames(1.0, -1.0), tmp_path / "film.mp4", dpi=50, progress=False)
    assert path.read_bytes()[4:8] == b"ftyp"


def test_a_film_shows_itself(tmp_path):
    film = plotting.animation(GRID, uniform_frames(1.0, -1.0), tmp_path / "film.gif", dpi=20, progress=False)
    tag, data = film._repr_html_().split("base64,")
    assert tag == '<img alt="film.gif" src="data:image/gif;'
    assert base64.b64decode(data.removesuffix('">')) == film.path.read_bytes()
    (tmp_path / "film.mp4").write_bytes(b"frames")
    assert plotting.Film(tmp_path / "film.mp4")._repr_html_().startswith("<video controls loop src=")


def test_a_notebook_shows_figures(monkeypatch):
    IPython = pytest.importorskip("IPython")
    shell = IPython.core.interactiveshell.InteractiveShell()
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    formatter = shell.display_formatter.formatters["image/png"]
    assert formatter(Figure()) is None
    show_figures()
    assert formatter(Figure()).startswith(b"\x89PNG")
    formatter.for_type(Figure, lambda figure: b"own")
    show_figures()
    assert formatter(Figure()) == b"own"  # what the user chose stays


@pytest.mark.full
def test_no_pyplot(tmp_path):
    program = (
        "import sys, numpy as np, warpjaxns as wns; grid = wns.Grid((8, 8));"
        f"wns.plotting.animation(grid, np.ones((2, 8, 8)), {str(tmp_path / 'film.gif')!r}, dpi=20, progress=False);"
        "assert 'matplotlib.pyplot' not in sys.modules and 'matplotlib.figure' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
