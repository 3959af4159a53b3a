"""What a process of the test of the image cache does; in a module that it can import."""

from __future__ import annotations


def read_in_process(image_reader, path, queue):
    queue.put((image_reader.read(path).numpy(), image_reader.cache.hits))


def read_window_in_process(image_reader, path, window, queue):
    queue.put(image_reader.read_window(path, window).numpy())
