"""Moving things draw light: optical flow turned into fading trails."""
