//! 7 OBSERVE: what records say about the way of an event. Reads only; never blocks or fails the way.
