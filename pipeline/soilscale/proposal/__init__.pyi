from .making import Wishes, ask, make
from .places import outline

__all__ = ["Wishes", "ask", "make", "outline"]
