"""Files and objects that outlive a process, and trying again where their storage does not answer."""
