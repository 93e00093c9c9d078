"""The Hydra configs of innflow, shipped inside the wheel as `pkg://innflow.conf`."""
