"""From the project to a production image: the plan, the build context, and what scans it."""
