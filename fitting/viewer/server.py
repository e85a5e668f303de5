"""The browser view: a viser server on this machine that shows one frame at a time.

Pages, scripts and data come from this process; nothing is fetched from a network.
"""

from __future__ import annotations

import contextlib
import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fitting.render import vertex_normals
from fitting.types import DependencyError
from fitting.viewer import scene
from fitting.viewer.controls import Controls
from fitting.viewer.folder import read_results
from fitting.viewer.pictures import FrameStore
from fitting.viewer.posing import Track, input_pictures, tracks

RESULT, START = (206, 190, 178), (150, 170, 205)
MEASURED, RESIDUAL = (25, 200, 90), (235, 60, 40)
BEHIND = 1.6
"""The picture hangs this many times as far away as the people."""
NEARER = 0.985
HALF_TURN = (0.0, 1.0, 0.0, 0.0)
"""About x, from the camera's axes to the world's, as a quaternion."""


class Viewer:
    """A running server; `close` ends it.

    Raises DependencyError without viser, InputError for a folder without results, ModelError where the model is gone.
    """

    def __init__(self, folder: Path, port: int = 8080, host: str = "127.0.0.1") -> None:
        viser = import_viser(folder)
        self.results = read_results(folder)
        self.tracks = tracks(self.results)
        with quiet():
            self.server: Any = viser.ViserServer(host=host, port=port, label="Keyfit", verbose=False)
        self._nodes: dict[str, Any] = {}
        self._lock = threading.Lock()  # the browser's events and the player both show frames
        self._stop = threading.Event()
        self.distance = BEHIND * max(-float(track.vertices(0)[:, 2].mean()) for track in self.tracks)
        self.server.scene.set_up_direction("+y")
        self.server.scene.world_axes.visible = False
        self.controls = Controls(self.server, [track.person for track in self.tracks], self.show)
        self.controls.camera.on_click(lambda _: self.look_from_camera())
        self.look_from_camera()
        self.frames = FrameStore(input_pictures(self.results), self._picture_read)
        self.frames.start()  # now that whoever hears of a frame finds it there
        self.show()
        self._player = threading.Thread(target=self._play, daemon=True)
        self._player.start()

    @property
    def url(self) -> str:
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    def close(self) -> None:
        self._stop.set()
        self.frames.close()
        self._player.join()
        with quiet():
            self.server.stop()

    def look_from_camera(self) -> None:
        """Everybody's view becomes that of the input's camera, turned to the middle of the picture."""
        plane = self._plane(0)
        clients = self.server.get_clients().values()
        for camera in (self.server.initial_camera, *(client.camera for client in clients)):
            camera.position = np.zeros(3)
            camera.look_at = plane.position / BEHIND
            camera.up = np.array([0.0, 1.0, 0.0])
            camera.fov = scene.vertical_view(plane)

    def show(self) -> None:
        """Puts the chosen frame into the scene."""
        with self._lock:
            k = min(int(self.controls.frame.value), len(self.tracks[0].person) - 1)
            with self.server.atomic():
                self._show_picture(k)
                for i, track in enumerate(self.tracks):
                    self._show_person(f"/person_{i}", track, k)
                self.controls.say(k)

    def _show_picture(self, k: int) -> None:
        image = self.frames.get(k) if self.controls.picture.value else None
        if image is None:
            return self._hide("/picture")
        plane = self._plane(k)
        self._put("/picture", "add_image", {"image": image}, {
            "render_width": plane.width, "render_height": plane.height, "wxyz": HALF_TURN,
            "position": tuple(plane.position), "format": "jpeg", "cast_shadow": False, "receive_shadow": False,
        })  # fmt: skip

    def _plane(self, k: int) -> scene.Backdrop:
        person = self.tracks[0].person
        width, height = (int(extent) for extent in person.arrays["image_sizes"][k])
        return scene.backdrop(person.arrays["K"][k], (width, height), self.distance)

    def _show_person(self, name: str, track: Track, k: int) -> None:
        controls = self.controls
        vertices, landmarks = track.vertices(k), track.landmarks(k)
        measured = scene.measured_in_space(track.person, k, landmarks)
        if track.person.words("source")[k] == "missing":
            for part in ("mesh", "by_error", "start", "fitted", "measured", "residuals"):
                self._hide(f"{name}/{part}")
            return
        by_error = controls.mesh.value and controls.by_error.value
        self._show_mesh(f"{name}/mesh", track, vertices, RESULT, controls.mesh.value and not by_error)
        self._show_errors(f"{name}/by_error", track, k, vertices, landmarks, by_error)
        beside = controls.start.value and track.start is not None
        start = track.vertices(k, start=True) + scene.beside(vertices) if beside else vertices
        self._show_mesh(f"{name}/start", track, start, START, beside)
        percent = scene.point_errors(track.person, k)
        compared = np.where(np.isfinite(percent)[: len(landmarks), None], landmarks, np.nan)
        self._show_points(f"{name}/fitted", compared, scene.error_colours(percent), controls.landmarks.value)
        self._show_points(f"{name}/measured", measured, np.full(measured.shape, MEASURED), controls.landmarks.value)
        lines = scene.residual_lines(landmarks, measured, float(controls.factor.value))
        if controls.residuals.value and len(lines):
            self._put(f"{name}/residuals", "add_line_segments", {"points": (NEARER * lines).astype(np.float32)}, {
                "colors": RESIDUAL, "thickness": 2.0, "thickness_units": "screen",
            })  # fmt: skip
        else:
            self._hide(f"{name}/residuals")

    def _show_mesh(
        self, name: str, track: Track, vertices: np.ndarray, colour: tuple[int, int, int], visible: bool
    ) -> None:
        if not visible:
            return self._hide(name)
        opacity = float(self.controls.opacity.value)
        changing = {"vertices": vertices.astype(np.float32), "opacity": None if opacity == 1 else opacity}
        self._put(name, "add_mesh_simple", changing, {"faces": track.body.faces, "color": colour, "side": "double"})

    def _show_errors(
        self, name: str, track: Track, k: int, vertices: np.ndarray, landmarks: Float[np.ndarray, "_ 3"], visible: bool
    ) -> None:
        """A mesh with a colour at every vertex has to be sent whole."""
        import trimesh

        if not visible:
            return self._hide(name)
        percent = scene.spread_errors(vertices, landmarks, scene.point_errors(track.person, k))
        colours = scene.error_colours(percent)
        faces = np.asarray(track.body.faces)
        normals = vertex_normals(vertices, faces)  # without them every triangle shows
        mesh = trimesh.Trimesh(vertices, faces, vertex_normals=normals, vertex_colors=colours, process=False)
        self._nodes[name] = self.server.scene.add_mesh_trimesh(name, mesh)

    def _show_points(self, name: str, points: np.ndarray, colours: np.ndarray, visible: bool) -> None:
        known = np.isfinite(points).all(axis=1)
        if not visible or not known.any():
            return self._hide(name)
        size = 0.0025 * self.distance / BEHIND
        nearer = NEARER * points[known]  # towards the camera, so that the skin does not swallow them
        changing = {"points": nearer.astype(np.float32), "colors": colours[known].astype(np.uint8)}
        self._put(
            name, "add_point_cloud", changing, {"point_size": size, "point_shape": "circle", "precision": "float32"}
        )

    def _put(self, name: str, adder: str, changing: dict[str, Any], fixed: dict[str, Any]) -> None:
        """Adds a node, or changes one that is there: so that nothing flickers while a clip plays."""
        node = self._nodes.get(name)
        if node is None:
            self._nodes[name] = getattr(self.server.scene, adder)(name, **changing, **fixed)
            return
        for key, value in changing.items():
            setattr(node, key, value)
        node.visible = True

    def _hide(self, name: str) -> None:
        if name in self._nodes:
            self._nodes[name].visible = False

    def _picture_read(self, k: int) -> None:
        if k == int(self.controls.frame.value):
            self.show()

    def _play(self) -> None:
        while not self._stop.wait(1 / max(float(self.controls.rate.value), 0.1)):
            if self.controls.play.value:
                self.controls.frame.value = (int(self.controls.frame.value) + 1) % len(self.tracks[0].person)
                self.show()


def quiet() -> contextlib.AbstractContextManager:
    """viser 1.1 prints its address and its end even when told to be silent."""
    return contextlib.redirect_stdout(io.StringIO())


def import_viser(folder: Path) -> Any:
    try:
        import viser
    except ImportError as error:
        raise DependencyError(
            'the browser view needs viser, which is not installed: pip install "keyfit[viewer]"; or make a page with '
            f"`report {folder}`"
        ) from error
    return viser
