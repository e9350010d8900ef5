"""Where frames come from and go to: `local` for the studio; `trickle` for production has its place here."""
