"""GeoJSON, as QuPath exports annotations, detections and cells."""

from segkit.data.formats.geojson.dataset import GeoJson

__all__ = ["GeoJson"]
