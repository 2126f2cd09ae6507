import os
import sys
from pathlib import Path

os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false")
sys.path.insert(0, str(Path(__file__).parent))
