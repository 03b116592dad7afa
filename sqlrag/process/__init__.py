"""What the process shares with others: open files, forks, processors, its end."""
