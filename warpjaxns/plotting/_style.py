"""Colours, which suit the colour-blind (Okabe and Ito, https://jfly.uni-koeln.de/color/)."""

RED, GREY = "#b2182b", "#444444"  # the vorticity map's red, and a colour for frames and references
CURVES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("-", "--", ":", "-.")  # for more curves than colours


def curve_style(number: int) -> dict:
    """Return the colour and dashes of the `number`-th curve, from 0."""
    repeat, colour = divmod(number, len(CURVES))
    return {"color": CURVES[colour], "linestyle": DASHES[repeat % len(DASHES)]}


def clean_axes(axes) -> None:
    """Draw a faint grid, and no frame where there are no ticks."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
