"""What a process shares with others: open files, forks, processors, its end. Nothing here is public."""
