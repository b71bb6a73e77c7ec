"""Two virtual machines with DRBD and OCFS2 from Debian's stock kernel, and what tests need to drive them."""
