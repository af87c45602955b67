"""Example clients, a load generator and configuration for TensorFlow Serving; see docs/serving.md.

The clients need NumPy and Pillow, neither this project's models nor Keras.
"""
