"""ComfyUI workflows as live pipelines: `comfyui_pipeline.pipeline:ComfyUI`, with the params module beside it.

Importing this package loads nothing; the params module stays light.
"""
