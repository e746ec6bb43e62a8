from .call import downscale

__all__ = ["downscale"]
