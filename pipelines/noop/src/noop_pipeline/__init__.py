"""The pipeline that gives every frame back as it came, or misbehaves as asked."""
