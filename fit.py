"""python fit.py --config cfg_files/fit_flame.yaml [--input my.jpg] [--output out/my] [--key value ...]"""

import sys

from fitting.cli import main

if __name__ == "__main__":
    sys.exit(main())
