"""What operators are shown of Pilot's state; secrets are not."""
