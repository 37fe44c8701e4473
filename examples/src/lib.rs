//! Small runnable programs, one for each task.
