"""The page of a run: its tabs, its style, and the web application that has it."""

import warnings
from collections.abc import Callable
from importlib.resources import files

from fastapi import FastAPI
from nicegui import ui
from starlette.middleware.trustedhost import TrustedHostMiddleware

from innflow.app import Inverse, Unconditional
from innflow.errors import InnflowError
from innflow.explore.latent import build_directions, build_morph
from innflow.explore.posterior import build_posterior
from innflow.explore.run import Run
from innflow.explore.samples import build_samples
from innflow.explore.scores import build_scores
from innflow.serve import LOOPBACK

Tabs = dict[str, Callable[[Run], None]]
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" '
    'rx="3" fill="#0072b2"/><path d="M2 12c3-9 5 3 12-8" stroke="#fff" stroke-width="2" '
    'fill="none"/></svg>'
)


def make_explorer(run: Run, host: str = "127.0.0.1") -> FastAPI:
    """Return the web application with the page of a run; only one can be made in a process.

    Args:
        run: the loaded run.
        host: address at which it is served; requests to a loopback address have to name it, so
            that a web page elsewhere cannot reach it under a name of its own.

    Raises:
        InnflowError: if there is nothing to show of the run.
    """
    tabs = choose_tabs(run)
    # NiceGUI looks at every object of the process for its server, also at deprecated ones of torch.
    warnings.filterwarnings("ignore", category=FutureWarning, module="nicegui")
    site = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if host in LOOPBACK:
        site.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"])
    ui.run_with(
        site,
        root=lambda: build_page(run, tabs),
        title=f"{_name(run)} - innflow",
        favicon=ICON,
        dark=None,
        tailwind=False,
        show_welcome_message=False,
    )
    return site


def choose_tabs(run: Run) -> Tabs:
    """Return what there is to show of a run.

    Raises:
        InnflowError: if there is nothing.
    """
    if isinstance(run.app, Inverse):
        return {"Posterior": build_posterior}
    if not isinstance(run.app, Unconditional):
        raise InnflowError(f"{type(run.app).__name__} has nothing to explore")
    tabs: Tabs = {}
    if run.is_images or run.is_vectors:
        tabs = {"Samples": build_samples, "Scores": build_scores}
        if run.app.features is None:
            tabs |= {"Directions": build_directions, "Morph": build_morph}
    return tabs or {"Scores": build_scores}


def build_page(run: Run, tabs: Tabs) -> None:
    """Build the page of a run: a header, and a tab for each thing to show."""
    ui.add_css(files("innflow.explore").joinpath("page.css").read_text(encoding="utf-8"))
    ui.colors(primary="#0072b2")
    dark = ui.dark_mode(None)
    with ui.element("header").classes("head"):
        with ui.element("div"):
            ui.label(_name(run)).classes("name")
            ui.label(f"{type(run.app).__name__}, {run.app.partition}").classes("note")
        switch = ui.toggle({None: "auto", False: "light", True: "dark"}, value=None)
        switch.props("no-caps dense unelevated").bind_value_to(dark, "value")
    with ui.tabs().props("align=left no-caps inline-label") as bar:
        for name in tabs:
            ui.tab(name)
    with ui.tab_panels(bar, value=next(iter(tabs))).props("animated=false").classes("pages"):
        panels = {name: ui.tab_panel(name) for name in tabs}
    waiting = dict(tabs)

    def open_tab(name: str) -> None:
        if build := waiting.pop(name, None):  # at the first visit, as it computes something
            with panels[name]:
                build(run)

    bar.on_value_change(lambda event: open_tab(event.value))
    open_tab(next(iter(tabs)))


def _name(run: Run) -> str:
    return str(run.app.config.get("name") or run.path)
