"""Train a network on endless simulation: python train.py model=unet_small"""

from stemdefects.commands.applications import train

if __name__ == "__main__":
    train()
