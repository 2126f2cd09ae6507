"""``python -m deploy_prune`` and the console script ``deploy-prune``."""

from deploy_prune.cli import main

if __name__ == "__main__":
    main()
