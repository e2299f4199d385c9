"""``python -m motion_lab``: the command ``motion-lab``."""

from motion_lab.cli import main

if __name__ == "__main__":
    main()
