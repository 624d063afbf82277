"""The time machine: recorded raw messages of a window, by Tardis Machine's conventions."""
