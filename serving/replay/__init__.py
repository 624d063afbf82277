"""The time machine: sends the recorded raw messages of a window, by Tardis Machine's conventions.

May import `rest` and before."""
