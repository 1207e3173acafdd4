-- Which folders a process uses: all of a team must have the same. Empty for a process of an older version.
ALTER TABLE processes ADD COLUMN home_id text COLLATE "C" NOT NULL DEFAULT '';
