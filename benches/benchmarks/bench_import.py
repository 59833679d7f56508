"""What a program pays for naming amortix."""

import subprocess
import sys


class Import:
    """``import amortix`` in a new interpreter, beside the interpreter alone."""

    params = ("pass", "import amortix", "import amortix.data", "import amortix.learner")
    param_names = ("code",)

    def time_in_a_new_interpreter(self, code):
        subprocess.run([sys.executable, "-c", code], check=True)
