//! 5 HANDLE: plugins, from a file in the folder to a guest that handles events inside its limits.
