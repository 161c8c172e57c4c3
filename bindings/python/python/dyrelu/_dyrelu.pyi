from typing import Any, Optional

import numpy as np

_Raw = tuple[str, tuple[int, ...], np.ndarray]
_RawOutput = tuple[str, list[int], np.ndarray]
_Port = tuple[str, Optional[str], Optional[list[Optional[int]]]]

class CancelToken:
    def __new__(cls) -> CancelToken: ...
    def cancel(self) -> None: ...
    def is_cancelled(self) -> bool: ...

class Network:
    def __new__(
        cls,
        path: str,
        contents: Optional[bytes],
        threads: int,
        preprocess: Optional[str],
        labels: Optional[str],
    ) -> Network: ...
    @property
    def inputs(self) -> list[_Port]: ...
    @property
    def outputs(self) -> list[_Port]: ...
    @property
    def metadata(self) -> list[tuple[str, str]]: ...
    @property
    def dynamic_activations(
        self,
    ) -> list[tuple[str, str, int, int, Optional[int], Optional[str]]]: ...
    def output_shapes(self, shapes: list[tuple[int, ...]]) -> list[Optional[list[int]]]: ...
    def run_into(
        self,
        inputs: list[np.ndarray],
        outputs: list[np.ndarray],
        timeout: Optional[float],
        cancel_token: Optional[CancelToken],
    ) -> None: ...
    def run(
        self,
        inputs: list[_Raw],
        timeout: Optional[float],
        cancel_token: Optional[CancelToken],
    ) -> list[_RawOutput]: ...
    def coefficients(self, input: _Raw) -> list[_RawOutput]: ...
    def classify(self, images: list[Any], top: int) -> list[list[tuple[str, int, float]]]: ...
