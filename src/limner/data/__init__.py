"""Data: any source of pictures becomes a packed, checked folder of equal-sized uint8 images.

Import from the modules themselves, such as ``from limner.data.prepare import prepare``. Nothing is imported here, so that
`limner.data.options`, which describes the options to the command line, loads neither NumPy nor Pillow.
"""
