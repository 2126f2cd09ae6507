"""What ``infer.py`` does, in parts. Artifacts hold a copy: Python 3.8, NumPy, Pillow and the model's engine."""
