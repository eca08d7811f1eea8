//! Duly.
