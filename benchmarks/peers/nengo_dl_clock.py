"""Times each batch of a NengoDL simulator."""

import time

import tensorflow as tf


class Clock(tf.keras.callbacks.Callback):
    """Seconds of each batch."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_train_batch_begin(self, *_):
        self.begin = time.perf_counter()

    def on_train_batch_end(self, *_):
        self.seconds.append(time.perf_counter() - self.begin)

    on_predict_batch_begin = on_train_batch_begin
    on_predict_batch_end = on_train_batch_end
