"""What the frames teach of the specimen: light of its columns, how common its defects are, alloys."""
